"""The three coordinate frames and the only code that converts between them.

*image*: pixels of the original image. *input*: the square the encoder sees; the image is scaled so that its
long side fills it and padded at the bottom and right. *logit*: the square of low-resolution mask logits.
Sizes are (height, width), points are (x, y). Pixel (0, 0) has its centre at (0, 0) in every frame; the half-pixel
shift of the position code belongs to the model's prompt encoder (paper appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_ROWS_AT_ONCE = 256  # what fits the cache


@dataclass(frozen=True)
class Frame:
    """How one image sits in a model's input square and in its logit square.

    image_hw is the size of the original image in pixels; input_size and logit_size are the sides of the squares.
    """

    image_hw: tuple[int, int]
    input_size: int
    logit_size: int

    def __post_init__(self) -> None:
        if min(self.image_hw) < 1 or self.input_size < 1 or self.logit_size < 1:
            raise ValueError(f"sizes of a frame must be at least 1, got {self}")

    @property
    def content_hw(self) -> tuple[int, int]:
        """Size of the scaled image inside the input square: the long side is input_size."""
        height, width = self.image_hw
        scale = self.input_size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    @property
    def scale_xy(self) -> npt.NDArray[np.float64]:
        """Factors (x, y) that take image coordinates to input coordinates."""
        (height, width), (content_height, content_width) = self.image_hw, self.content_hw
        return np.array([content_width / width, content_height / height], dtype=np.float64)

    def points_to_input(self, points_xy: npt.ArrayLike) -> FloatArray:
        """Take points (..., 2) from the image frame to the input frame."""
        return (np.asarray(points_xy, dtype=np.float64) * self.scale_xy).astype(np.float32)

    def points_to_image(self, points_xy: npt.ArrayLike) -> FloatArray:
        """Take points (..., 2) from the input frame to the image frame."""
        return (np.asarray(points_xy, dtype=np.float64) / self.scale_xy).astype(np.float32)

    def boxes_to_input(self, boxes_xyxy: npt.ArrayLike) -> FloatArray:
        """Take boxes (..., 4) from the image frame to the input frame."""
        boxes = np.asarray(boxes_xyxy, dtype=np.float64)
        return self.points_to_input(boxes.reshape(*boxes.shape[:-1], 2, 2)).reshape(boxes.shape)

    def boxes_to_logit(self, boxes_xyxy: npt.ArrayLike) -> FloatArray:
        """Take boxes (..., 4) from the image frame to the logit frame."""
        factor = self.logit_size / self.input_size
        return ((self.boxes_to_input(boxes_xyxy) + 0.5) * factor - 0.5).astype(np.float32)

    def logits_to_image(self, logits: FloatArray) -> FloatArray:
        """Take mask logits (..., L, L) from the logit frame to (..., H, W) in the image frame.

        Bilinear to the input square, crop of the padding, bilinear to the image (paper appendix A and the
        official post-processing); pixel centres at half-integers, no antialiasing.
        """
        size = (self.logit_size, self.logit_size)
        if logits.shape[-2:] != size:
            raise ValueError(f"logits end in {logits.shape[-2:]}, this frame wants {size}")
        height, width = self.image_hw
        flat = np.ascontiguousarray(logits, dtype=np.float32).reshape(-1, *size)
        out = np.empty((len(flat), height, width), dtype=np.float32)
        for one, target in zip(flat, out, strict=True):
            for top in range(0, height, _ROWS_AT_ONCE):
                bottom = min(top + _ROWS_AT_ONCE, height)
                target[top:bottom] = self.logits_in_window(one, (0, top, width, bottom))
        return out.reshape(*logits.shape[:-2], height, width)

    def logits_in_window(
        self, logits: FloatArray, window_xyxy: tuple[int, int, int, int]
    ) -> FloatArray:
        """Part [y0:y1, x0:x1] of logits_to_image for one mask's logits (L, L), in the time of the part's rows."""
        x0, y0, x1, y1 = window_xyxy
        (content_height, content_width), (height, width) = self.content_hw, self.image_hw
        rows, shares = _sources(y0, y1, height, content_height)
        # Two rows where there are two: OpenCV rounds a single one otherwise.
        first = min(int(rows[0]), max(content_height - 2, 0))
        last = min(int(rows[-1]) + 1, content_height - 1)
        square, offset = self._square_rows(logits, first, last)
        content = square[first - offset : last + 1 - offset, :content_width]
        if width != content_width:
            wide = cv2.resize(
                np.ascontiguousarray(content),
                (width, len(content)),
                interpolation=cv2.INTER_LINEAR,
            )
            content = np.asarray(wide, dtype=np.float32)
        content = content[:, x0:x1]
        if height == content_height:
            return np.ascontiguousarray(content[rows - first])
        upper = content[rows - first]
        lower = content[np.minimum(rows + 1, last) - first]
        lower -= upper
        lower *= shares[:, None]
        upper += lower
        return upper

    def _square_rows(self, logits: FloatArray, first: int, last: int) -> tuple[FloatArray, int]:
        """Rows of the input square with first to last among them, and which row comes first."""
        factor, rest = divmod(self.input_size, self.logit_size)
        low, high = 0, self.logit_size
        if not rest:
            # Whole factors keep pixel grids aligned, so a band of rows gives what all of them would.
            low = max(0, first // factor - 1)
            high = min(self.logit_size, last // factor + 2)
        size = (self.input_size, (high - low) * self.input_size // self.logit_size)
        band = cv2.resize(logits[low:high], size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(band, dtype=np.float32), low * factor

    def window_to_logit(
        self, values: FloatArray, window_xyxy: tuple[int, int, int, int]
    ) -> tuple[FloatArray, FloatArray]:
        """Take values (K, h, w) of a window of the image to the logit frame.

        Returns their means (K, L, L) over the part of each logit pixel that the window covers, 0 where it covers none, and
        what share (L, L) of each logit pixel that is.
        """
        x0, y0, x1, y1 = window_xyxy
        side = self.input_size / self.logit_size
        cells = np.arange(self.logit_size + 1) * side
        across, down = (
            _overlaps(cells / scale - start, stop - start).astype(np.float32)
            for scale, start, stop in zip(self.scale_xy, (x0, y0), (x1, y1), strict=True)
        )
        area = down.sum(axis=1)[:, None] * across.sum(axis=1)
        sums = down @ values.astype(np.float32) @ across.T
        means = np.divide(sums, area, out=np.zeros_like(sums), where=area > 0)
        return means, (area * np.prod(self.scale_xy) / side**2).astype(np.float32)

    def mask_to_logit(self, mask: npt.NDArray[np.generic]) -> FloatArray:
        """Take a mask (H, W) from the image frame to the logit frame: share of each logit pixel covered, 0 to 1."""
        if mask.shape != self.image_hw:
            raise ValueError(f"mask is {mask.shape}, the image is {self.image_hw}")
        content_height, content_width = self.content_hw
        square = np.zeros((self.input_size, self.input_size), dtype=np.float32)
        shrinks = self.input_size <= max(self.image_hw)
        square[:content_height, :content_width] = cv2.resize(
            mask.astype(np.float32),
            (content_width, content_height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        shrunk = cv2.resize(
            square, (self.logit_size, self.logit_size), interpolation=cv2.INTER_AREA
        )
        return np.asarray(shrunk, dtype=np.float32)


def _overlaps(borders: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float64]:
    """How much of each pixel 0 to length - 1 lies between one border and the next, (N, length) for N + 1 borders."""
    starts = np.arange(length)
    low = np.maximum(borders[:-1, None], starts)
    overlaps: npt.NDArray[np.float64] = np.minimum(borders[1:, None], starts + 1) - low
    return np.maximum(0.0, overlaps)


def _sources(
    start: int, stop: int, length: int, source_length: int
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """For pixels start to stop of length the source pixel before each and the share of the next one, bilinear."""
    places = (np.arange(start, stop) + 0.5) * (source_length / length) - 0.5
    places = np.clip(places, 0.0, source_length - 1)
    before = np.floor(places).astype(np.int64)
    return before, (places - before).astype(np.float32)
