"""The HTML pages and pictures of evaluation and drift."""
