"""Models that are named by their hub id: downloaded once, into the hub's own cache; never pickles, never code."""

from pathlib import Path

from huggingface_hub import snapshot_download

from h3eval.errors import ConfigError
from h3eval.hub import why

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "chat_templates/*.jinja")


def download(model: str) -> Path:
    """The folder of a hub model. Raise ConfigError."""
    try:
        return Path(snapshot_download(model, allow_patterns=list(WANTED)))
    except Exception as error:
        raise ConfigError(f"model {model}: no such folder here, and from the hub: {why(error)}") from error
