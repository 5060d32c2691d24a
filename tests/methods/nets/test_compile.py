"""Every network compiles as one graph: no step back to Python in the middle of a call."""

import pytest
import torch
from fill import fill_
from stablesr_tiny import STRUCT, UNET, context

from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.nets.edm_precond import EDMPrecond
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.nets.sd_unet import SDUNet
from priorsr.methods.nets.songunet import SongUNet
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.nets.struct_encoder import StructEncoder

ADM = ADMConfig(
    image_size=16,
    out_channels=3,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=32,
)
T = torch.tensor([3.0])


def picture(channels=3, side=16):
    return torch.linspace(0, 1, channels * side * side).view(1, channels, side, side)


NETWORKS = {
    "adm": (lambda: build_adm(ADM), lambda: (picture(), T)),
    "corrector": (lambda: CorrectorUNet(ADM), lambda: (picture(), T, picture())),
    "edm": (
        lambda: EDMPrecond(SongUNet(16, 3, 3, model_channels=32, channel_mult=(1, 2), num_blocks=1)),
        lambda: (picture(), T),
    ),
    "ncsnpp": (
        lambda: NCSNpp(NCSNppConfig(image_size=16, nf=32, ch_mult=(1, 2), num_res_blocks=1, num_scales=10)),
        lambda: (picture(), T, picture()),
    ),
    "sd unet": (lambda: SDUNet(UNET), lambda: (picture(4, 8), T, context())),
    "struct encoder": (lambda: StructEncoder(STRUCT), lambda: (picture(4, 8), T)),
    "srcnn": (SRCNN, lambda: (picture(1),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_a_network_is_one_graph(name):
    build, given = NETWORKS[name]
    network = build().eval()
    fill_(network)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    expected, found = network(*given()), compiled(*given())
    pairs = zip(expected, found, strict=True) if isinstance(expected, tuple) else [(expected, found)]
    for wanted, got in pairs:
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_method_runs_compiled_and_goes_on_where_that_fails():
    from priorsr.methods.registry import method_named

    low = picture(side=24)
    exact = method_named("srcnn").prepare()(low, 2.0)
    torch._dynamo.reset()
    compiled = method_named("srcnn").prepare().compile("aot_eager")
    torch.testing.assert_close(compiled(low, 2.0), exact, atol=1e-5, rtol=1e-4)

    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    torch._dynamo.reset()
    heard = []
    failing = method_named("diffsr").prepare(values={"steps": 2})
    plain = failing(low, 2.0)
    failing.compile(broken)
    torch.testing.assert_close(failing(low, 2.0, report=heard.append), plain, atol=1e-5, rtol=1e-4)
    assert any("goes on without compiling" in text and "no compiler here" in text for text in heard)
