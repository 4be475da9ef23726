from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from segloop.errors import WeightsError
from segloop.train.failed_batch import failed_path, load_failed_batch, save_failed_batch


@dataclass(frozen=True, eq=False)
class Pictures:
    images: torch.Tensor
    truths: Any
    names: tuple[str, ...]
    place: Path = Path("here")


def pictures(*names: str) -> Pictures:
    images = torch.full((len(names), 3, 2, 2), float("nan"))
    return Pictures(images, np.eye(3, dtype=np.bool_), names)


WEIGHTS = {"layer.weight": torch.tensor([[1.0, float("inf")]], requires_grad=True)}


def save(folder: Path, *parts: Pictures, rank: int = 0) -> Path:
    return save_failed_batch(
        folder, parts, WEIGHTS, step=17, reason="the loss is not finite", rank=rank
    )


def test_all_of_it_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path / "run", pictures("a", "b"), pictures("c"))
    assert path == tmp_path / "run" / "failed_batch.pt"
    found = load_failed_batch(path)
    assert (found.step, found.names) == (17, ("a", "b", "c"))
    assert found.describe() == "step 17: the loss is not finite; images a, b, c"
    assert found.parts[0]["images"].isnan().all()
    assert found.parts[1]["images"].shape == (1, 3, 2, 2)
    assert torch.equal(found.parts[0]["truths"], torch.eye(3, dtype=torch.bool))
    assert found.parts[0]["place"] == "here"
    assert torch.equal(found.weights["layer.weight"], WEIGHTS["layer.weight"].detach())
    assert not found.weights["layer.weight"].requires_grad


def test_the_folder_of_the_run_is_enough(tmp_path: Path) -> None:
    save(tmp_path, pictures("a"))
    assert load_failed_batch(tmp_path).names == ("a",)


def test_many_names_are_cut(tmp_path: Path) -> None:
    save(tmp_path, pictures(*(f"image_{number}" for number in range(11))))
    assert load_failed_batch(tmp_path).describe().endswith("image_7 and 3 more")


def test_each_process_has_its_own_file_and_the_last_failure_stands(tmp_path: Path) -> None:
    save(tmp_path, pictures("old"))
    save(tmp_path, pictures("first"))
    save(tmp_path, pictures("second"), rank=1)
    assert load_failed_batch(failed_path(tmp_path)).names == ("first",)
    assert load_failed_batch(failed_path(tmp_path, 1)).names == ("second",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "failed_batch.1.pt",
        "failed_batch.pt",
    ]


def test_of_shared_weights_the_own_part_is_kept(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        shared = distribute_tensor(torch.arange(6.0).reshape(3, 2), mesh, [Shard(0)])
        save_failed_batch(tmp_path, [pictures("a")], {"weight": shared}, step=1, reason="why")
    finally:
        distributed.destroy_process_group()
    found = load_failed_batch(tmp_path).weights["weight"]
    assert type(found) is torch.Tensor
    assert torch.equal(found, torch.arange(6.0).reshape(3, 2))


def test_a_disk_that_refuses_still_tells_the_reason(tmp_path: Path) -> None:
    in_the_way = tmp_path / "run"
    in_the_way.write_text("")
    with pytest.raises(WeightsError, match=r"^the loss is not finite at step 17; cannot write .*$"):
        save(in_the_way, pictures("a"))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04cut"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "failed_batch.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"failed_batch\.pt is damaged, or no failed batch"):
        load_failed_batch(path)


def test_other_tables_and_missing_files_are_refused(tmp_path: Path) -> None:
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="no failed batch of a run"):
        load_failed_batch(tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="no such file"):
        load_failed_batch(tmp_path / "none.pt")
