"""The operators there are, as closed unions over the field ``op``."""

from __future__ import annotations

from typing import TypeAlias

from degrade.operators.blur import Blur, BlurDraw
from degrade.operators.imresize import Imresize, ImresizeDraw
from degrade.operators.jpeg import Jpeg, JpegDraw
from degrade.operators.noise import Gaussian, GaussianDraw, Poisson, PoissonDraw
from degrade.operators.resize import Resize, ResizeDraw
from degrade.operators.sinc import Sinc, SincDraw

AnyOperator: TypeAlias = Blur | Sinc | Resize | Gaussian | Poisson | Jpeg | Imresize
AnyDraw: TypeAlias = BlurDraw | SincDraw | ResizeDraw | GaussianDraw | PoissonDraw | JpegDraw | ImresizeDraw
