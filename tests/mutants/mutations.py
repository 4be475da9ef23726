"""The list: mistakes that are easy to make in this model and that still give a plausible picture."""

from __future__ import annotations

from run import Mutation

_FRAMES = "segloop/geometry/frames.py"
_PROMPT = "segloop/prompts/prompt.py"
_DECODER = "segloop/model/mask_decoder.py"
_STEP = "segloop/train/sam_step.py"
_TEST_FRAMES = ("tests/geometry/test_frames.py",)
_TEST_PROMPT = ("tests/prompts/test_prompt.py",)
_TEST_DECODER = ("tests/model/test_mask_decoder.py", "tests/parity/test_official.py")
_TEST_STEP = ("tests/train/test_sam_step.py",)

MUTATIONS = (
    # --- frames and pictures ---
    Mutation(
        "frames: scale of x and y swapped",
        _FRAMES,
        "[content_width / width, content_height / height]",
        "[content_height / height, content_width / width]",
        _TEST_FRAMES,
    ),
    Mutation(
        "frames: padding not cropped before resizing to the image",
        _FRAMES,
        "last + 1 - offset, :content_width]",
        "last + 1 - offset]",
        _TEST_FRAMES,
    ),
    Mutation(
        "masks: stability offset halved",
        "segloop/geometry/masks.py",
        "offset: float = 1.0",
        "offset: float = 0.5",
        ("tests/geometry/test_masks.py",),
    ),
    Mutation(
        "image: orientation tag ignored",
        "segloop/data/image.py",
        "_TURNS.get(_orientation(image))",
        "_TURNS.get(1)",
        ("tests/data/test_image.py",),
    ),
    Mutation(
        "transforms: padded before normalising",
        "segloop/data/transforms.py",
        "np.zeros((3, input_size, input_size), dtype=np.float32)",
        "np.tile((-PIXEL_MEAN / PIXEL_STD)[:, None, None], (1, input_size, input_size))",
        ("tests/data/test_transforms.py",),
    ),
    # --- prompts ---
    Mutation(
        "prompt: padding point missing",
        _PROMPT,
        "elif len(points):",
        "elif len(points) < 0:",
        _TEST_PROMPT,
    ),
    Mutation(
        "prompt: labels of the box corners swapped",
        _PROMPT,
        "np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]",
        "np.array([BOX_BOTTOM_RIGHT, BOX_TOP_LEFT]",
        _TEST_PROMPT,
    ),
    Mutation(
        "prompt: labels of points inverted",
        _PROMPT,
        "kinds = [labels]",
        "kinds = [1 - labels]",
        _TEST_PROMPT,
    ),
    Mutation(
        "simulate: a tie of errors is a foreground click",
        "segloop/prompts/simulate.py",
        "missed.max() > false.max()",
        "missed.max() >= false.max()",
        ("tests/prompts/test_simulate.py",),
    ),
    # --- model ---
    Mutation(
        "prompt encoder: half pixel to the centre dropped",
        "segloop/model/prompt_encoder.py",
        "(coords + 0.5) / input_size",
        "coords / input_size",
        ("tests/model/test_prompt_encoder.py",),
    ),
    Mutation(
        "decoder: mask token 0 changes places with token 1",
        _DECODER,
        "head(tokens[:, 1 + i])",
        "head(tokens[:, (2, 1, 3, 4)[i]])",
        _TEST_DECODER,
    ),
    Mutation(
        "decoder: predicted IoU off by one output",
        _DECODER,
        "self.iou_head(tokens[:, 0])",
        "self.iou_head(tokens[:, 0]).roll(1, -1)",
        _TEST_DECODER,
    ),
    Mutation(
        "decoder: first self-attention with a residual",
        _DECODER,
        "tokens = self.dropout(self.self_attention(tokens, tokens, tokens))",
        "tokens = tokens + self.dropout(self.self_attention(tokens, tokens, tokens))",
        _TEST_DECODER,
    ),
    Mutation(
        "layers: GELU for ReLU in the MLP",
        "segloop/model/layers.py",
        "F.relu(layer(x))",
        "F.gelu(layer(x))",
        ("tests/model/test_layers.py",),
    ),
    Mutation(
        "image encoder: windows padded at the top and left",
        "segloop/model/image_encoder.py",
        "(0, 0, 0, pad, 0, pad)",
        "(0, 0, pad, 0, pad, 0)",
        ("tests/model/test_image_encoder.py",),
    ),
    Mutation(
        "predictor: predicted IoU of the output before",
        "segloop/predict/predictor.py",
        "all_iou[rows, chosen]",
        "all_iou[rows, chosen - 1]",
        ("tests/predict/test_predictor.py",),
    ),
    # --- training ---
    Mutation(
        "conversation: clicks say the opposite",
        "segloop/train/conversation.py",
        "FOREGROUND if click.is_foreground else BACKGROUND",
        "BACKGROUND if click.is_foreground else FOREGROUND",
        ("tests/train/test_conversation.py",),
    ),
    Mutation(
        "losses: focal and dice weights swapped",
        "segloop/train/losses.py",
        "IOU_WEIGHT = 20.0, 1.0, 1.0",
        "IOU_WEIGHT = 1.0, 20.0, 1.0",
        _TEST_STEP,
    ),
    Mutation(
        "step: mean of the three losses for their minimum",
        _STEP,
        "least, which = of_masks.min(dim=1)",
        "least, which = of_masks.mean(dim=1), focal.argmin(dim=1)",
        _TEST_STEP,
    ),
    Mutation(
        "step: logits not fed back",
        _STEP,
        "previous = outcome.chosen_logits[:, None]",
        "previous = torch.zeros_like(outcome.chosen_logits[:, None])",
        _TEST_STEP,
    ),
    Mutation(
        "step: the mask of least loss passed on, not the best predicted",
        _STEP,
        "1 + scores[:, 1:].argmax(dim=1)",
        "1 + focal_loss(logits[:, 1:], truths[:, None].expand_as(logits[:, 1:])).argmin(dim=1)",
        _TEST_STEP,
    ),
    Mutation(
        "loop: resumed without the state of the optimizer",
        "segloop/train/devices.py",
        "optimizer.load_state_dict(state)",
        "pass",
        ("tests/train/test_loop.py",),
    ),
    # --- automatic masks and the second look ---
    Mutation(
        "filters: the larger crop wins across crops",
        "segloop/predict/filters.py",
        "1.0 / sides.prod(axis=1)",
        "sides.prod(axis=1)",
        ("tests/predict/test_filters.py", "tests/predict/test_automatic.py"),
    ),
    Mutation(
        "closer: the mask that is trusted least",
        "segloop/predict/closer.py",
        "rows = [int(np.argmax(found.predicted_iou))]",
        "rows = [int(np.argmin(found.predicted_iou))]",
        ("tests/predict/test_closer.py",),
    ),
    Mutation(
        "closer: points not moved into the window",
        "segloop/predict/closer.py",
        "points[is_inside] - origin",
        "points[is_inside]",
        ("tests/predict/test_closer.py",),
    ),
    Mutation(
        "tidy: the clicked piece goes too",
        "segloop/predict/tidy.py",
        "drops[labels[on_xy[:, 1], on_xy[:, 0]]] = False",
        "pass",
        ("tests/predict/test_tidy.py",),
    ),
    Mutation(
        "tidy: holes of any size",
        "segloop/predict/tidy.py",
        "HOLE_SHARE * int(kept.sum())",
        "kept.size",
        ("tests/predict/test_tidy.py",),
    ),
    Mutation(
        "sharpen: colours are not counted",
        "segloop/predict/sharpen.py",
        "ours = np.bincount(guide.bins.ravel(), inside.ravel(), num_bins)",
        "ours = np.bincount(guide.bins.ravel(), None, num_bins)",
        ("tests/predict/test_sharpen.py",),
    ),
    Mutation(
        "sharpen: one wide filter for masks of any size",
        "segloop/predict/sharpen.py",
        "radius = min(int(config.radius_share * side + 0.5), config.most_radius)",
        "radius = config.most_radius",
        ("tests/predict/test_sharpen.py",),
    ),
    # --- evaluation ---
    Mutation(
        "boundaries: tolerance twice the benchmark's",
        "segloop/evaluate/boundaries.py",
        "MAX_DISTANCE = 0.0075",
        "MAX_DISTANCE = 0.015",
        ("tests/evaluate/test_boundaries.py",),
    ),
    Mutation(
        "coverage: columns counted from the image's left, not the mask's",
        "segloop/geometry/coverage.py",
        "_read_lines(before, own_columns - first)",
        "_read_lines(before, own_columns)",
        ("tests/geometry/test_coverage.py",),
    ),
)
