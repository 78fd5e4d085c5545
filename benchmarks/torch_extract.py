"""The same network and files in PyTorch, as an extractor is usually written: DataLoader, Pillow, `inference_mode`.

    python benchmarks/torch_extract.py photos side images

Run with a Python that has torch and timm; prints images/s, the best of several settings, its start not counted.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Photos(Dataset):
    def __init__(self, files: list[Path], side: int) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize((side, side)),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.transform(Image.open(self.files[i]).convert("RGB"))


def rate(model: torch.nn.Module, files: list[Path], side: int, workers: int, channels_last: bool) -> float:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    warm = 64
    began = 0.0
    done = 0
    with torch.inference_mode():
        for batch in DataLoader(Photos(files, side), batch_size=32, num_workers=workers):
            model(batch.to(memory_format=layout))
            done += len(batch)
            if done == warm:
                began = time.perf_counter()
    return (done - warm) / (time.perf_counter() - began)


def main() -> None:
    files = sorted(Path(sys.argv[1]).rglob("*.jpg"))[: int(sys.argv[3])]
    model = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0).eval()
    rates = [rate(model, files, int(sys.argv[2]), workers, last) for workers in (0, 1, 2) for last in (False, True)]
    print(max(rates))


if __name__ == "__main__":
    main()
