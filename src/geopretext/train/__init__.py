"""Training: recipes, Lightning modules, optimiser groups, schedules, callbacks, and runs that resume.

What may live here: everything that makes a pretext method learn, and nothing that knows what it learns. Imports
``pretext``, ``nn``, ``data``, ``modality`` and ``errors``.
"""
