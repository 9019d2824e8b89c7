"""Pictures and videos as encoders take them."""
