# Settings and host are fit for Calico. All others require it: where it fails, nothing of Calico's is changed.
include:
  - calico.modules

Settings and host are fit for Calico:
  calico.checked: []
