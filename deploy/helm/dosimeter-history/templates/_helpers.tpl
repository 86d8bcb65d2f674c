{{- define "history.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}
{{- define "history.selector" -}}
app.kubernetes.io/name: dosimeter-history
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "history.labels" -}}
{{ include "history.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "history.host" -}}
{{- trimPrefix "https://" .Values.pages.publicUrl -}}
{{- end }}
{{- define "history.probe" -}}
httpGet:
  path: /api/v1/healthz
  port: http
  httpHeaders: [{name: Host, value: {{ include "history.host" . | quote }}}]
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 6
{{- end }}
