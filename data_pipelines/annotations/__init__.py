"""What people have drawn on images: read from files of every tool, and painted as labels."""
