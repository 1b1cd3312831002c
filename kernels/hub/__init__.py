"""The operators and the layer as a kernel of Hugging Face's `kernels`, in the layout that its kernel-builder takes.

``python -m osdn_kernels.hub FOLDER`` writes the project: what lies beside this file, and the modules of this package
under ``torch-ext/``. No compiler is needed (``torch-noarch``). kernel-builder asks for Python 3.9, these modules
for 3.11.
"""
