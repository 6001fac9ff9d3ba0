"""What of a DICOM header a seal holds, by keywords."""

from __future__ import annotations

FIRST_IDENTITY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber")
IDENTITY = (*FIRST_IDENTITY, "StudyTime", "AcquisitionDate")
"""Whose an image is, and of which examination: what all of its slices say alike, so that none of them may be missed."""
FIRST_PLACE = ("ImageLaterality", "Laterality", "ViewPosition", "PatientOrientation", "PatientPosition",
               "PhotometricInterpretation", "PresentationLUTShape", "Palette")
SECOND_PLACE = (*FIRST_PLACE[:-1], "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio",
                "SpacingBetweenSlices")
SHUTTER = ("ShutterShape", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge",
           "ShutterLowerHorizontalEdge", "CenterOfCircularShutter", "RadiusOfCircularShutter",
           "VerticesOfThePolygonalShutter", "ShutterPresentationValue", "ShutterPresentationColorCIELabValue",
           "ShutterOverlayGroup")
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit", "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit",
           "DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit")
"""Values that viewers hide."""
_CALIBRATION = ("EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector", "DistanceSourceToPatient",
                "PixelSpacingCalibrationType")
_TRIM = ("StartTrim", "StopTrim")
_ON_SLIDE = ("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "TotalPixelMatrixFocalPlanes", "ImageOrientationSlide",
             "DimensionOrganizationType")
PLACE = (*SECOND_PLACE, *SHUTTER, *PADDING, "PixelPresentation", "RescaleType", "Units", *_CALIBRATION, *_TRIM,
         *_ON_SLIDE, "RecommendedViewingMode", "Modality", "SOPClassUID")
"""Which part and side of the patient it shows, which end of its values is bright, what says how large its pixels are
beside `spacing`, what its values mean, and what hides some of them. Older seals know the first of them alone."""
STUDY = ("Modality", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
DESCRIPTORS = ("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
               "BluePaletteColorLookupTableDescriptor")
PALETTE = ("RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
           "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
           "SegmentedBluePaletteColorLookupTableData")
HEADERS_OWN = ("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
               "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", *DESCRIPTORS, *PALETTE)
"""How pixels are stored and coloured: no functional group says it."""
SECOND_SEQUENCES = ("ModalityLUTSequence", "SequenceOfUltrasoundRegions", "DetectorInformationSequence",
                    "ViewCodeSequence")
SEQUENCES = (*SECOND_SEQUENCES, "RealWorldValueMappingSequence", "MaskSubtractionSequence", "FramePixelShiftSequence",
             "PixelIntensityRelationshipLUTSequence", "PlanePositionVolumeSequence", "PlaneOrientationVolumeSequence",
             "PlanePositionSlideSequence", "TotalPixelMatrixOriginSequence", "ICCProfile")
"""What says how stored values, pixels and frames are to be taken; kept as hashes."""
HIDING = frozenset((*SHUTTER, *PADDING, *_TRIM, "PixelPresentation", "SupplementalPalette", "MaskSubtractionSequence",
                    "FramePixelShiftSequence", "RecommendedViewingMode", "HighBit"))
"""What makes viewers hide voxels or frames, or show others."""
OLDER = frozenset((*SECOND_PLACE, *SECOND_SEQUENCES, "Palette", "FrameLaterality"))
"""What seals without `Seal.header` know of `Content.place`; those of the first format know `FIRST_PLACE`."""
ALSO = (*IDENTITY, *PLACE, *SEQUENCES, *PALETTE, *DESCRIPTORS, "StudyInstanceUID", "InstanceNumber")
HELD = frozenset((*ALSO, "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope",
                  "RescaleIntercept", "FrameLaterality", "SpecificCharacterSet", *HEADERS_OWN))
"""Elements that a seal holds, or that its voxels depend on, the number of an instance, and how texts are written."""
