"""The page: one HTML file, from templates, tables and figures."""
