"""Published numbers that stand beside ours in tables, in percent, by name of the data set or protocol.

All are of FSFM, ViT-B/16 (FSFM supplement). Those of FS-VFM were not at hand.
"""

# Frame and video AUC; pretrained on VGGFace2 for 400 epochs, fine-tuned on FaceForensics++ c23 (supplement, Tab. 3;
# within FaceForensics++ Tab. 1).
DEEPFAKE = {
    "CDFv2": (85.05, 91.44),
    "DFDC": (80.20, 83.47),
    "DFDCp": (85.50, 89.71),
    "WDF": (85.26, 86.96),
    "FFpp": (97.74, 99.03),
}

# AUC of images; pretrained on the originals of FaceForensics++, fine-tuned on its Deepfakes (supplement, Tab. 5).
DIFFUSION = {"FF_DF": 99.31, "T2I": 61.74, "I2I": 71.91, "FS": 71.31, "FE": 78.98}

# HTER and AUC of videos, the step chosen and the threshold fitted on the target's test set (supplement, Tab. 4 and 2).
ANTI_SPOOFING = {
    "OCI2M": (3.78, 99.15),
    "OMI2C": (3.16, 99.41),
    "OCM2I": (4.63, 99.03),
    "ICM2O": (7.68, 97.11),
    "OCI2M_no_celeb": (6.58, 97.43),
    "OMI2C_no_celeb": (4.30, 99.10),
    "OCM2I_no_celeb": (14.63, 90.96),
    "ICM2O_no_celeb": (10.02, 96.23),
}
