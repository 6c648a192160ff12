from functa_core.testing import conformance

test_conformance = conformance(
    "nerf",
    resolution=8,
    max_views=4,
    points_per_ray=4,
    views=2,
    rays=8,
    orbit_views=2,
    surface_resolution=8,
)
