"""The resources as pydantic models, the single source of what may stand in them."""
