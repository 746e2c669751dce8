import CIOUring
