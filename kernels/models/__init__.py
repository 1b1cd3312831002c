"""Language models in the style of Hugging Face's transformers, which they need: ``pip install -e '.[hf]'``.

Importing this package registers them with `AutoConfig`, `AutoModel` and `AutoModelForCausalLM`; nothing else of
`osdn_kernels` imports it.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from .cache import OsdnCache
from .configuration import OsdnConfig
from .modeling import OsdnForCausalLM, OsdnModel, OsdnPreTrainedModel

AutoConfig.register(OsdnConfig.model_type, OsdnConfig)
AutoModel.register(OsdnConfig, OsdnModel)
AutoModelForCausalLM.register(OsdnConfig, OsdnForCausalLM)

__all__ = ["OsdnCache", "OsdnConfig", "OsdnForCausalLM", "OsdnModel", "OsdnPreTrainedModel"]
