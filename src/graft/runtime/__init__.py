"""What every process needs: how numbers are computed, a shared start, progress, graft's own cache."""
