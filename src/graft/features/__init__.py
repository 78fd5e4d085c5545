"""Features and activations: planned, computed where the cache has none, kept.

plan      what `extract` writes, and what made it
compute   from the bytes of examples to features: a picklable spec, so that it can run elsewhere
engines/  ways to run a network
sink      arrays on disk and the cache, filled with what is known and what is computed
cache     values by the content of an example and everything else that they depend on
packs     what the cache holds as files that travel through DVC's remote: `graft cache push`, `pull`
team      what others have computed, asked for before anything is: GRAFT_CACHE_REMOTE
store     arrays on disk, and meta.json, which says what made them
"""
