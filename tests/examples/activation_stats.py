"""Collects what `espalier prune --activation-stats FILE` wants to know of a PyTorch model's inputs.

    stats = ActivationStats(model, gram=False)   # hooks on every torch.nn.Linear
    for batch in calibration_data:               # some hundred samples are enough
        model(batch)
    stats.save("stats.safetensors")

For a linear layer NAME the file holds NAME.norms, the Euclidean norm of each input over all samples
(enough for wanda), and with gram=True NAME.gram, the sum of x x^T (for sparsegpt and --update;
inputs x inputs numbers a layer). The file is safetensors, written here from its definition."""
import json
import struct

import torch


class ActivationStats:
    def __init__(self, model, gram=False):
        self.sums, self.handles = {}, []
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                hook = lambda _, inputs, name=name: self.add(name, inputs[0], gram)
                self.handles.append(module.register_forward_pre_hook(hook))

    @torch.no_grad()
    def add(self, name, x, gram):
        x = x.detach().reshape(-1, x.shape[-1]).double().cpu()
        for key, value in ((f"{name}.norms", (x * x).sum(0)), (f"{name}.gram", x.T @ x if gram else 0)):
            self.sums[key] = self.sums.get(key, 0) + value

    def save(self, path):
        for handle in self.handles:
            handle.remove()
        header, data = {}, []
        for key, value in self.sums.items():
            if torch.is_tensor(value):
                bytes_of = (value.sqrt() if key.endswith(".norms") else value).float().numpy().tobytes()
                begin = sum(map(len, data))
                data.append(bytes_of)
                header[key] = {"dtype": "F32", "shape": list(value.shape),
                               "data_offsets": [begin, begin + len(bytes_of)]}
        text = json.dumps(header).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + b"".join(data))
