from functa_core.testing import conformance

test_conformance = conformance("voxels", resolution=8)
