"""Published numbers that stand beside ours in tables: frame and video AUC in percent, by name of the data set.

FSFM, ViT-B/16, pretrained on VGGFace2 for 400 epochs, fine-tuned on FaceForensics++ c23 (FSFM supplement, tables of
cross-dataset deepfake detection and of unseen diffusion forgery). Those of FS-VFM were not at hand.
"""

FSFM_VIT_B = {
    "CDFv2": (85.05, 91.44),
    "DFDC": (80.20, 83.47),
    "DFDCp": (85.50, 89.71),
    "WDF": (85.26, 86.96),
    # Of single images, pretrained on the originals of FaceForensics++.
    "T2I": (61.74, None),
    "I2I": (71.91, None),
    "FS": (71.31, None),
    "FE": (78.98, None),
}
