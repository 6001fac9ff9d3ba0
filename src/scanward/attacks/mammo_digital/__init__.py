from scanward.attacks.mammo_digital.inject import MammoDigital
