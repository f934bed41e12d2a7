"""What a device can multiply at most."""

import pytest
import torch

from pretrain import throughput
from pretrain.throughput import by_data_sheet, ceiling


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA H200", 989),
    ],
)
def test_a_known_gpu_is_measured_against_its_data_sheet(name, tera):
    assert by_data_sheet(name) == tera * 1e12


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 4090", "NVIDIA A1000", "Tesla T4"])
def test_a_gpu_that_is_not_known_is_not_guessed(name):
    assert by_data_sheet(name) is None


def test_another_device_is_measured_once_and_says_what_it_was_measured_with():
    device = torch.device("cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = throughput._measured(device, torch.float32)
    finally:
        torch.set_num_threads(threads)
    # Between an old core without vector units and a whole rack.
    assert 1e9 < found < 1e15
    assert ceiling(device) is ceiling(torch.device("cpu"))
    assert ceiling(device).name.startswith("cpu, ")
    assert ceiling(device).name.endswith("product measured here")
