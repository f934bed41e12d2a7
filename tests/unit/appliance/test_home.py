"""The appliance's home: made once, closed to others."""

from pathlib import Path

import pytest

from appliance.home import Home, HomeError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_init_makes_a_home_that_can_be_used(home: Home) -> None:
    made = home.init()
    assert {home.root, home.group_key, home.config, home.database} <= set(made)
    assert home.require() is home


def test_nobody_but_the_owner_may_look_into_a_home(home: Home) -> None:
    home.root.mkdir(mode=0o755)
    home.init()
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o077 for p in home.root.rglob("*")} == {0}


def test_init_again_changes_nothing(home: Home) -> None:
    home.init()
    key = home.group_key.read_bytes()
    home.config.write_text("[mllp]\nport = 2600\n")
    assert home.init() == []
    assert (home.group_key.read_bytes(), home.config.read_text()) == (key, "[mllp]\nport = 2600\n")


def test_every_home_has_a_key_of_its_own(tmp_path: Path) -> None:
    one, two = Home(tmp_path / "1"), Home(tmp_path / "2")
    one.init()
    two.init()
    assert len(one.group_key.read_bytes()) == 32
    assert one.group_key.read_bytes() != two.group_key.read_bytes()


def test_a_folder_that_is_no_home_says_how_to_make_one(home: Home) -> None:
    with pytest.raises(HomeError, match=r"is no appliance home; run `clinappliance --home .*/home init`"):
        home.require()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"file/home: cannot be made \(Not a directory\)"):
        Home(tmp_path / "file" / "home").init()
