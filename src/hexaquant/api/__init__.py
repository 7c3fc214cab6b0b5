"""The calls a user makes; ``hexaquant`` re-exports them lazily."""
