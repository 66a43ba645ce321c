"""Models, data and training of the two recipe tasks; `compress` knows a few more tasks."""
