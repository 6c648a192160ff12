"""Neural fields: networks that a latent turns into a function of coordinates."""
