"""What would keep Triton from starting is said before it is started, in one line."""

import shutil
import socket
import sys
from importlib.metadata import version

import pytest
from pydantic import ValidationError

from serving.environment import PYTRITON, ServerError, find
from serving.server import TritonConfig, TritonServer, why_not

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def environment(tmp_path):
    """The files that Triton's environment consists of, empty."""
    root, base = tmp_path / "triton", tmp_path / "python"
    site_packages = root / "lib" / f"python{PYTHON}" / "site-packages"
    triton = site_packages / "pytriton" / "tritonserver"
    for path in (
        triton / "bin" / "tritonserver",
        triton / "backends" / "python" / "libtriton_python.so",
        triton / "backends" / "python" / "triton_python_backend_utils.py",
        triton / "python_backend_stubs" / PYTHON / "triton_python_backend_stub",
        site_packages / "nvidia_pytriton.libs" / "libz.so",
        base / "lib" / f"libpython{PYTHON}.so.1.0",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "pyvenv.cfg").write_text(f"home = {base}/bin\n")
    install(site_packages, "numpy", "1.26.4")
    install(site_packages, "clinappliance", version("clinappliance"))
    install(site_packages, "nvidia-pytriton", PYTRITON)
    return root


def install(site_packages, name, version):
    stem = name.replace("-", "_")
    for old in site_packages.glob(f"{stem}-*.dist-info"):
        shutil.rmtree(old)
    folder = site_packages / f"{stem}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def free_ports():
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def config(environment, ports):
    return TritonConfig(environment=environment, grpc_port=ports[0], metrics_port=ports[1])


def test_nothing_speaks_against_a_whole_environment_and_free_ports(environment, free_ports):
    assert why_not(config(environment, free_ports)) is None


def test_a_missing_environment_is_named(tmp_path, free_ports):
    reason = why_not(config(tmp_path / "nowhere", free_ports))
    assert (
        reason
        == f"Triton's environment is not in {tmp_path / 'nowhere'}; run install.sh, or set [triton] environment to where it is"
    )


def test_numpy_2_in_tritons_environment_is_refused_without_starting_it(environment, free_ports):
    install(find(environment).site_packages, "numpy", "2.4.6")
    assert f"{environment} has numpy 2.4.6; install numpy 1.26.4" in str(why_not(config(environment, free_ports)))


@pytest.mark.parametrize("package", ["nvidia-pytriton", "clinappliance"])
def test_an_environment_with_another_release_or_none_of_it_is_refused_with_both(package, environment, free_ports):
    wanted = {"nvidia-pytriton": PYTRITON, "clinappliance": version("clinappliance")}[package]
    install(find(environment).site_packages, package, "0.0.9")
    assert f"has {package} 0.0.9, and this " in str(why_not(config(environment, free_ports)))
    assert f"{wanted}; run install.sh again" in str(why_not(config(environment, free_ports)))
    shutil.rmtree(next(environment.glob(f"lib/*/site-packages/{package.replace('-', '_')}-*")))
    assert f"lacks {package}" in str(why_not(config(environment, free_ports)))


def test_a_missing_stub_is_named(environment, free_ports):
    find(environment).backend_files[-1].unlink()
    assert f"python_backend_stubs/{PYTHON}/triton_python_backend_stub" in str(why_not(config(environment, free_ports)))


def test_a_base_python_without_a_shared_library_is_refused(environment, tmp_path, free_ports, monkeypatch):
    (tmp_path / "python" / "lib" / f"libpython{PYTHON}.so.1.0").unlink()
    monkeypatch.setattr("sysconfig.get_config_var", lambda _name: "no-such-architecture")
    assert f"install Debian's libpython{PYTHON}" in str(why_not(config(environment, free_ports)))


@pytest.mark.parametrize(("index", "setting"), [(0, "grpc_port"), (1, "metrics_port")])
def test_a_port_in_use_is_named_with_the_setting_to_change(index, setting, environment, free_ports):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_ports[index]))
        listener.listen()
        reason = why_not(config(environment, free_ports))
    assert reason == (
        f"port {free_ports[index]} on 127.0.0.1 cannot be used (Address already in use); free it or change [triton] {setting}"
    )


def test_a_server_that_cannot_start_says_why_and_is_not_running(tmp_path, free_ports):
    server = TritonServer(config(tmp_path / "nowhere", free_ports), tmp_path / "repository", tmp_path / "triton.log")
    with pytest.raises(ServerError, match="run install"):
        server.start()
    server.watch()
    server.stop()
    assert server.pid is None
    assert server.is_ready() is False


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_an_address_that_others_can_reach_is_refused(host):
    with pytest.raises(ValidationError, match="loopback"):
        TritonConfig(host=host)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="http_port"):
        TritonConfig(http_port=8000)


def test_the_environment_lies_beside_the_project_unless_configured():
    assert TritonConfig().environment.name == "triton"
    assert str(TritonConfig().environment.parent) == sys.prefix
