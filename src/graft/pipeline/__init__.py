"""The pipeline as DVC has it: paths, `dvc.lock`, which `dvc` process runs us, and whether files belong together."""
