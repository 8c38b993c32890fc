"""From pixels to depth: networks, warping and losses."""
