"""The page in the browser: `deepam app`. Gradio is imported by `page` alone."""
