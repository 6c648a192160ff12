from functa_core.testing import conformance

test_conformance = conformance("images", resolution=8, points=32)
