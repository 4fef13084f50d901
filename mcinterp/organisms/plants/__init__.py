"""Planted checkpoints: a collapse trained into a known site, so that an answer about where it sits can be judged.

Each plant is a folder with a ``plant.json`` (``record``), its prompts and, for most, a Hugging Face
checkpoint of about 3 MB. ``python -m mcinterp.organisms.plants --out DIR`` builds the ``designs``;
``building.build_plants`` does so from Python. Importing this package needs no torch.
"""

from mcinterp.organisms.plants.designs import DESIGNS, Design, designs_named
from mcinterp.organisms.plants.record import Plant, Task, read_plant, read_plants, write_plant

__all__ = ["DESIGNS", "Design", "Plant", "Task", "designs_named", "read_plant", "read_plants", "write_plant"]
