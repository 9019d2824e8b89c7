"""What encoders make of pictures and questions, computed once and kept."""
