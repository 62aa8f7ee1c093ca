"""Documentation: `pages/` is what people wrote, `python -m docs.build` adds the reference and builds the site."""
