"""The conformance kit on the stranger's modality, and the kit itself."""

from functa_core.testing import conformance

test_clips = conformance("clips", longest=16, points=8)
test_clips_with_held_out_bars = conformance("clips", longest=16, points=8, bars=6)
