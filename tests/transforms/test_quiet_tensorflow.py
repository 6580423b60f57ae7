from __future__ import annotations

import os
import subprocess
import sys

from transforms.quiet_tensorflow import LEFT_OUT


def test_tensorflow_comes_without_what_scoring_does_not_need():
    code = (
        "import sys\n"
        "from transforms.quiet_tensorflow import LEFT_OUT, import_tensorflow\n"
        "import_tensorflow()\n"
        "assert not LEFT_OUT & set(sys.modules), LEFT_OUT & set(sys.modules)\n"
        "import keras, pandas, scipy.special, tensorflow as tf, tensorflow_text as text\n"
        "layer = keras.layers.Dense(2)\n"
        "assert layer(tf.ones([1, 3])).shape == (1, 2) and scipy.special.expit(0.0) == 0.5\n"
        "assert tf.keras.optimizers.Adam is keras.optimizers.Adam\n"
        "assert text.normalize_utf8(['A'], 'NFKC').numpy() == b'A'\n"
    )
    # tf.Transform, where an earlier test imported it, has set a variable that asks for Keras 2.
    environment = {name: value for name, value in os.environ.items() if "LEGACY_KERAS" not in name}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-500:]
    assert {"pandas", "scipy", "keras.src"} <= LEFT_OUT
