"""A ResShift network that was distilled to a single evaluation: the students of RSD and SinSR."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor
from torch.nn.functional import pad

from stages.models.latent_space import TrainedAutoencoder
from stages.models.resshift import ResShiftModel
from stages.sampling.config import SamplingOptions
from stages.sampling.sampler import super_resolve


def around(teacher: ResShiftModel) -> dict[str, Any]:
    """What builds another network like `teacher`'s by keyword, around the autoencoder that the teacher holds."""
    autoencoder = teacher.autoencoder
    shared = autoencoder if isinstance(autoencoder, TrainedAutoencoder) else teacher.constructor["autoencoder"]
    return {**teacher.constructor, "autoencoder": shared}


class OneStepModel(ResShiftModel):
    """z_T, the LR image and (with `noise_channels`) planes of noise -> z0, in one evaluation.

    The process is the teacher's: sampling draws z_T from its prior and gives the network the label of its last step.
    """

    family = "one-step"

    @classmethod
    def of_teacher(cls, teacher: ResShiftModel, noise_channels: int) -> OneStepModel:
        """The teacher's weights; the first convolution is widened by planes whose weights are zero.

        So it answers as the teacher does, whatever the noise (RSD, arXiv 2503.13358, section 3.2 and appendix C).
        """
        student = cls(**{**around(teacher), "noise_channels": noise_channels})
        wider = student.state_dict()
        state = teacher.state_dict()
        for name, value in state.items():
            missing = wider[name].dim() > 1 and wider[name].shape[1] - value.shape[1]
            if missing:  # planes of noise come last among the inputs of the first convolution
                state[name] = pad(value, (0, 0, 0, 0, 0, missing))
        student.load_state_dict(state)
        return student

    def super_resolve(self, lr: Tensor, **options: Unpack[SamplingOptions]) -> Tensor:
        """As every super-resolver; raises ValueError when asked for more than one step."""
        self._refuse_more(options.get("steps"))
        options["steps"] = 1
        return super_resolve(self, lr, **options)

    def evaluations(self, steps: int | None = None) -> int:
        self._refuse_more(steps)
        return 1

    def _refuse_more(self, steps: int | None) -> None:
        if steps not in (None, 1):
            raise ValueError(
                f"steps: this model was distilled to one step, got {steps}; leave `steps` out, and sample its teacher "
                "in several steps in a stage of its own"
            )
