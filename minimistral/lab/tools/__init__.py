"""The interactive tools, one a file: pure functions compute and draw, a small class connects them to a widget."""
