"""Sets of videos in YouTube-VIS's layout, a variant of COCO's: the masks of an object frame by frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set
from segloop.data.sets.outlines import Outline, Outlines, read_json, read_outline
from segloop.errors import InputError


def open_videos(
    folder: Path, *, name: str, annotations: tuple[str, ...], images: tuple[str, ...]
) -> ListedSet:
    """List the frames that show an object. annotations and images: paths in the folder that either goes by.

    InputError where something is missing or not in that layout.
    """
    path, place = find_below(folder, *annotations), find_below(folder, *images)
    return list_set(name, folder, _entries(path, place))


def _entries(path: Path, images: Path) -> Iterator[Entry]:
    content = read_json(path)
    try:
        names = {item["id"]: str(item["name"]) for item in content["categories"]}
        videos = {item["id"]: item for item in content["videos"]}
        frames: defaultdict[tuple[Any, int], list[Outline]] = defaultdict(list)
        for item in content["annotations"]:
            if item["video_id"] not in videos:
                raise InputError(
                    f"{path}: annotation {item['id']} is of video {item['video_id']}, which is not listed"
                )
            for number, shape in enumerate(item["segmentations"]):
                if shape is not None:
                    category = names[item["category_id"]]
                    frames[item["video_id"], number].append(read_outline(item, category, shape))
        for (video_id, number), outlines in frames.items():
            video = videos[video_id]
            file_name = str(video["file_names"][number])
            truth = Outlines(tuple(outlines), (int(video["height"]), int(video["width"])))
            yield Entry(str(Path(file_name).with_suffix("")), images / file_name, truth)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not in YouTube-VIS's layout ({error})") from error
