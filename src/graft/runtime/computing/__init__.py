"""How numbers are computed: the settings of TensorFlow, Keras, oneDNN and OpenBLAS that decide their last digits."""
