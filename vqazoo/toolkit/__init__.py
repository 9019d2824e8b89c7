"""What authors of parts build with: layers, losses, decoding, published weights and settings."""
