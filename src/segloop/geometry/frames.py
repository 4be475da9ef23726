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
        content_height, content_width = self.content_hw
        height, width = self.image_hw
        flat = np.ascontiguousarray(logits, dtype=np.float32).reshape(-1, *size)
        out = np.empty((len(flat), height, width), dtype=np.float32)
        for one, target in zip(flat, out, strict=True):
            square = cv2.resize(
                one, (self.input_size, self.input_size), interpolation=cv2.INTER_LINEAR
            )
            content = np.ascontiguousarray(square[:content_height, :content_width])
            cv2.resize(content, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
        return out.reshape(*logits.shape[:-2], height, width)

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
