from functa_core.testing import conformance

test_conformance = conformance("sphere", fit_points=256, points=64)
