"""What other people's networks do: one part a module, each with ``run(names, folder)``; see scripts/gallery.py."""
