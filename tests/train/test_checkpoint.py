from __future__ import annotations

import dataclasses
import pickle
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from segloop.data.augment import Augmentation
from segloop.errors import WeightsError
from segloop.train.checkpoint import (
    CHECKPOINTS_NAME,
    MEAN_FILE,
    MODEL_FILE,
    STATE_FILE,
    TrainState,
    find_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from segloop.train.config import OptimConfig, TrainConfig


def state_at(step: int, size: int = 3) -> TrainState:
    weights = {"weight": torch.arange(float(size)) + step}
    mean = {"weight": torch.ones(size)}
    optimizer = {
        "state": {0: {"exp_avg": torch.ones(size)}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
    }
    return TrainState(step, weights, mean, optimizer, torch.get_rng_state()[None], best_score=0.5)


def test_there_and_back(tmp_path: Path, small_config: TrainConfig) -> None:
    state = state_at(7)
    path = save_checkpoint(tmp_path / "new" / "run", state, small_config)
    assert path == tmp_path / "new" / "run" / CHECKPOINTS_NAME / "00000007"
    found = load_checkpoint(tmp_path / "new" / "run", small_config)
    assert found is not None
    assert found.step == 7
    torch.testing.assert_close(found.model, state.model, rtol=0, atol=0)
    torch.testing.assert_close(found.mean, state.mean, rtol=0, atol=0)
    torch.testing.assert_close(found.random_states, state.random_states)
    assert found.best_score == 0.5
    assert found.optimizer["param_groups"] == state.optimizer["param_groups"]
    assert {file.name for file in path.iterdir()} == {MODEL_FILE, MEAN_FILE, STATE_FILE}
    torch.testing.assert_close(load_file(path / MODEL_FILE), state.model, rtol=0, atol=0)


def test_without_a_checkpoint_there_is_none(tmp_path: Path, small_config: TrainConfig) -> None:
    assert load_checkpoint(tmp_path, small_config) is None
    assert load_checkpoint(tmp_path / "nowhere", small_config) is None


def test_the_last_few_are_kept(tmp_path: Path, small_config: TrainConfig) -> None:
    config = dataclasses.replace(small_config, keep_checkpoints=2)
    for step in (20, 100, 1000):
        save_checkpoint(tmp_path, state_at(step), config)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["00000100", "00001000"]
    found = load_checkpoint(tmp_path, config)
    assert found is not None
    assert found.step == 1000


def test_an_unfinished_one_does_not_count(tmp_path: Path, small_config: TrainConfig) -> None:
    path = save_checkpoint(tmp_path, state_at(7), small_config)
    shutil.copytree(path, path.parent / "00000009.partial")
    found = load_checkpoint(tmp_path, small_config)
    assert found is not None
    assert found.step == 7
    save_checkpoint(tmp_path, state_at(9), small_config)
    assert [one.name for one in path.parent.iterdir() if "partial" in one.name] == []


def test_another_number_of_processes_is_refused(tmp_path: Path, small_config: TrainConfig) -> None:
    save_checkpoint(tmp_path, state_at(7), small_config)
    with pytest.raises(
        WeightsError, match="made by 1 processes, this run has 4; start it with torchrun"
    ) as caught:
        load_checkpoint(tmp_path, small_config, num_processes=4)
    assert "\n" not in str(caught.value)


def changed_frozen(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, optim=OptimConfig(frozen=("image_encoder",)))


def changed_part(config: TrainConfig, part: str, **changes: Any) -> TrainConfig:
    return dataclasses.replace(
        config, **{part: dataclasses.replace(getattr(config, part), **changes)}
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("recipe", lambda c: dataclasses.replace(c, recipe="compact")),
        ("model", lambda c: dataclasses.replace(c, model="tiny")),
        ("input_size", lambda c: dataclasses.replace(c, input_size=128)),
        ("seed", lambda c: dataclasses.replace(c, seed=1)),
        ("frozen", changed_frozen),
        ("accumulate", lambda c: dataclasses.replace(c, accumulate=2)),
        ("batch_size", lambda c: changed_part(c, "data", batch_size=3)),
        ("max_masks", lambda c: changed_part(c, "data", max_masks=3)),
        ("repeats", lambda c: changed_part(c, "data", repeats=2)),
        ("weights", lambda c: changed_part(c, "data", weights={"shapes": 2.0})),
        ("weighs_images", lambda c: changed_part(c, "data", weighs_images=True)),
        ("flip", lambda c: changed_part(c, "data", augmentation=Augmentation(flip=0.5))),
        ("large", lambda c: changed_part(c, "data", augmentation=Augmentation(large=0.5))),
        ("other images than", lambda c: dataclasses.replace(c, images="f00d")),
        ("other start weights than", lambda c: dataclasses.replace(c, start="f00d")),
        ("num_clicks", lambda c: changed_part(c, "interaction", num_clicks=2)),
        ("dice_weight", lambda c: changed_part(c, "interaction", dice_weight=5.0)),
    ],
)
def test_another_runs_checkpoint_is_refused(
    tmp_path: Path,
    small_config: TrainConfig,
    name: str,
    change: Callable[[TrainConfig], TrainConfig],
) -> None:
    save_checkpoint(tmp_path, state_at(7), small_config)
    with pytest.raises(
        WeightsError, match=f"with {name} .* choose another output folder"
    ) as caught:
        load_checkpoint(tmp_path, change(small_config))
    assert "\n" not in str(caught.value)


def test_a_longer_run_may_go_on(tmp_path: Path, small_config: TrainConfig) -> None:
    save_checkpoint(tmp_path, state_at(7), small_config)
    longer = dataclasses.replace(small_config, num_steps=100, log_every=5)
    assert load_checkpoint(tmp_path, longer) is not None
    slower = changed_part(changed_part(longer, "optim", learning_rate=1e-5), "data", num_workers=3)
    assert load_checkpoint(tmp_path, slower) is not None


def test_settings_newer_than_a_checkpoint_are_no_hindrance(
    tmp_path: Path, small_config: TrainConfig
) -> None:
    path = save_checkpoint(tmp_path, state_at(7), small_config) / STATE_FILE
    record = torch.load(path, weights_only=True)
    del record["config"]["interaction"]["dice_weight"]
    for name in ("images", "start"):
        del record["config"][name]
    for name in ("augmentation", "weights", "weighs_images"):
        del record["config"]["data"][name]
    torch.save(record, path)
    assert load_checkpoint(tmp_path, small_config) is not None


def test_a_mean_is_where_the_run_keeps_one(tmp_path: Path, small_config: TrainConfig) -> None:
    """Those before kept one that nothing had moved; it is not read."""
    config = changed_part(small_config, "optim", ema=0.0)
    kept = save_checkpoint(tmp_path, state_at(7), config) / MEAN_FILE
    assert kept.exists()
    found = load_checkpoint(tmp_path, config)
    assert found is not None
    assert found.mean == {}
    path = save_checkpoint(tmp_path, dataclasses.replace(state_at(8), mean={}), config)
    assert {file.name for file in path.iterdir()} == {MODEL_FILE, STATE_FILE}
    assert load_checkpoint(tmp_path, config) is not None


def test_another_number_of_processes_is_named_before_what_follows_from_it(
    tmp_path: Path, small_config: TrainConfig
) -> None:
    save_checkpoint(tmp_path, state_at(7), small_config)
    shared = dataclasses.replace(small_config, accumulate=2)
    with pytest.raises(WeightsError, match="made by 1 processes, this run has 4; start it with"):
        load_checkpoint(tmp_path, shared, num_processes=4)


@pytest.mark.parametrize("name", [MODEL_FILE, MEAN_FILE, STATE_FILE])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"some text",
        lambda content: content[:40],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\x80\x02" + content[:50],
        lambda content: pickle.dumps({"step": 1}),
    ],
)
def test_a_damaged_file_is_one_line(
    tmp_path: Path, small_config: TrainConfig, damage: Callable[[bytes], bytes], name: str
) -> None:
    """And deleting the newest checkpoint leads back to the one before, as the line says."""
    save_checkpoint(tmp_path, state_at(5), small_config)
    folder = save_checkpoint(tmp_path, state_at(7), small_config)
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match="damaged or no checkpoint; delete it") as caught:
        load_checkpoint(tmp_path, small_config)
    assert "\n" not in str(caught.value)
    shutil.rmtree(folder)
    found = load_checkpoint(tmp_path, small_config)
    assert found is not None
    assert found.step == 5


@pytest.mark.parametrize(
    "record", [torch.ones(3), [1, 2], {"step": 1}, {"config": {}, "step": 1}, {"config": 3}]
)
def test_other_files_of_pytorch_are_one_line(
    tmp_path: Path, small_config: TrainConfig, record: object
) -> None:
    torch.save(record, save_checkpoint(tmp_path, state_at(7), small_config) / STATE_FILE)
    with pytest.raises(WeightsError, match="damaged or no checkpoint"):
        load_checkpoint(tmp_path, small_config)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, small_config: TrainConfig) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = save_checkpoint(tmp_path, state_at(7), small_config) / STATE_FILE
    torch.save({"config": Trap()}, path)
    with pytest.raises(WeightsError, match="damaged or no checkpoint"):
        load_checkpoint(tmp_path, small_config)
    assert not (tmp_path / "sprung").exists()


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, small_config: TrainConfig
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write") as caught:
        save_checkpoint(tmp_path / "file" / "run", state_at(7), small_config)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_named_and_no_checkpoint_is_claimed_that_is_not_there(
    tmp_path: Path, small_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    def failure(num_bytes_free: int) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", fail)
            patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=num_bytes_free))
            with pytest.raises(WeightsError) as caught:
                save_checkpoint(tmp_path, state_at(8, size=1000), small_config)
        return str(caught.value).partition("00000008: ")[2]

    assert failure(100) == "no space is left on the disk, free some"
    assert failure(10**9) == "basic_ios::clear: iostream error"
    save_checkpoint(tmp_path, state_at(7), small_config)
    kept = "the checkpoint before it is kept"
    assert failure(100) == f"no space is left on the disk, free some; {kept}"


def test_a_full_disk_is_one_line_and_keeps_the_checkpoint_before(
    tmp_path: Path, small_config: TrainConfig
) -> None:
    """A child that may write no more than 64 kB tries to save a megabyte over a good checkpoint."""
    pytest.importorskip("resource", reason="limits on file sizes need a Unix system")
    save_checkpoint(tmp_path, state_at(7), small_config)
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(small_config))
    script = textwrap.dedent(
        """
        import pickle, resource, signal, sys
        from pathlib import Path
        import torch
        from segloop.errors import WeightsError
        from segloop.train.checkpoint import TrainState, save_checkpoint

        folder = Path(sys.argv[1])
        config = pickle.loads((folder / "config.pickle").read_bytes())
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        big = {"weight": torch.zeros(250_000)}
        try:
            save_checkpoint(folder, TrainState(8, big, big, {}, torch.zeros(1, 8)), config)
        except WeightsError as error:
            print(error)
        """
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    (line,) = child.stdout.splitlines()
    assert line.startswith("cannot write")
    assert line.endswith("the checkpoint before it is kept")
    found = load_checkpoint(tmp_path, small_config)
    assert found is not None
    assert found.step == 7
    assert not list(tmp_path.glob("**/*.partial"))
