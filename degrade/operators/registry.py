"""The operators there are, as closed unions over the field ``op``."""

from __future__ import annotations

from typing import TypeAlias

from degrade.operators.blur import Blur, BlurDraw
from degrade.operators.correlated import Correlated, CorrelatedDraw
from degrade.operators.decimate import Decimate, DecimateDraw
from degrade.operators.defocus import Defocus, DefocusDraw
from degrade.operators.eigen_blur import EigenBlur, EigenBlurDraw
from degrade.operators.halo import Halo, HaloDraw
from degrade.operators.imresize import Imresize, ImresizeDraw
from degrade.operators.isp import Isp, IspDraw
from degrade.operators.jpeg import Jpeg, JpegDraw
from degrade.operators.motion import Motion, MotionDraw
from degrade.operators.noise import Gaussian, GaussianDraw, Poisson, PoissonDraw
from degrade.operators.resize import Resize, ResizeDraw
from degrade.operators.shrink import Shrink, ShrinkDraw
from degrade.operators.sinc import Sinc, SincDraw
from degrade.operators.webp import Webp, WebpDraw

AnyOperator: TypeAlias = (
    Blur
    | Sinc
    | Resize
    | Gaussian
    | Poisson
    | Jpeg
    | Imresize
    | Webp
    | Defocus
    | Motion
    | Isp
    | Halo
    | EigenBlur
    | Shrink
    | Decimate
    | Correlated
)
AnyDraw: TypeAlias = (
    BlurDraw
    | SincDraw
    | ResizeDraw
    | GaussianDraw
    | PoissonDraw
    | JpegDraw
    | ImresizeDraw
    | WebpDraw
    | DefocusDraw
    | MotionDraw
    | IspDraw
    | HaloDraw
    | EigenBlurDraw
    | ShrinkDraw
    | DecimateDraw
    | CorrelatedDraw
)
