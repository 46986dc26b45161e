import sys

import pytest
from torch import nn

from pemn_compress.models import architecture_of, is_user_model, resolve_user_model
from pemn_formats.errors import PemnError

MODULE = """
from torch import nn
def make(num_classes): return nn.Linear(4, num_classes)
def fixed(): return nn.Linear(4, 2)
def text(num_classes): return "net"
def broken(num_classes): raise ValueError("two\\nlines")
class Net(nn.Linear):
    def __init__(self, num_classes): super().__init__(4, num_classes)
net = nn.Linear(4, 2)
number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch, request):
    module = f"mynets_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield module
    sys.modules.pop(module, None)


@pytest.mark.parametrize("factory", ["make", "Net"])
def test_a_factory_in_the_current_folder_is_called(here, factory):
    path = list(sys.path)
    model = resolve_user_model(f"{here}:{factory}", num_classes=7)
    assert model.out_features == 7
    assert architecture_of(model) is None
    assert sys.path == path


def test_torchvision_takes_the_number_of_classes():
    model = resolve_user_model("torchvision.squeezenet1_1", num_classes=7)
    assert model.classifier[1].out_channels == 7


def test_torch_itself_is_a_module_like_any():
    assert isinstance(resolve_user_model("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nix", "has no 'nix'"),
        ("fixed", r"cannot be called with \(num_classes=7\): got an unexpected keyword"),
        ("text", r"returned a str; expected a torch\.nn\.Module"),
        ("broken", "calling it with .* failed: ValueError: two lines"),
        ("net", "is a Linear; expected a function or class"),
        ("number", "is a int; expected a function or class"),
        ("", "is incomplete; expected package.module:factory"),
    ],
)
def test_wrong_factories_are_refused_in_one_line(here, factory, message):
    with pytest.raises(PemnError, match=message) as caught:
        resolve_user_model(f"{here}:{factory}", num_classes=7)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_package_here.nets:make", "no module 'no_such_package_here'"),
        ("torchvision.resnt18", "no classification model 'resnt18'; did you mean torchvision.resnet18?"),
        ("torchvision.models.nothing_like_it", "no classification model 'nothing_like_it'$"),
        ("resnet18", r"neither torchvision\.NAME nor package\.module:factory"),
    ],
)
def test_unknown_nets_are_refused(spec, message):
    with pytest.raises(PemnError, match=message):
        resolve_user_model(spec)


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_net.py").write_text("import no_such_package_here")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PemnError, match="importing broken_net failed: ModuleNotFoundError: No module named 'no_such_pac"
    ):
        resolve_user_model("broken_net:make")


def test_the_two_forms_are_told_from_registered_names():
    assert is_user_model("torchvision.resnet18")
    assert is_user_model("a.b:c")
    assert not is_user_model("convmixer")
